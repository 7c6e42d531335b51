"""The command line: every command of `tlog`, as a person or a script meets it.

    `app`       the table of commands, in the order in which they are needed, and `main`, where the program starts
    `configuration`  options from the environment and from a file
    `options`   options that several commands share, their defaults, and what they stand for
    `output`    what every command does with its result: run, print, show progress, end with a message and an exit code
    `lines`     what serve, seal and signer say: a JSON object a line
    `escaping`  text that a terminal shows as it is
    `progress`  how far an import is: a bar, lines, or lines of JSON
    `running`   demo, init, serve, seal, signer: commands that make a log and keep it going
    `events`    append, import: commands that bring events in
    `ingest`    ingest: commands that take events from Kafka; verify intake
    `asking`    query, prove, export: commands that answer
    `answers`   an answer as a table, or as tab-separated values after a pipe
    `evidence`  where evidence goes: a file, or a directory of parts
    `checking`  verify, fsck: commands that check
    `keeping`   backup, restore, recover, reindex: commands for the years
    `witness`   witness: commands of who cosigns other people's logs
    `monitor`   monitor: the command that watches a log from outside
    `keys`      keys, token: the log's public key, and API keys
    `sessions`  session: who is signed in on the pages

A command is one function: its parameters are the options, its docstring is the help. It asks the rooms below for the
result, prints that, and decides nothing itself. With `TLOG_DATA` set, or `--data` given, it reads like this:

    tlog init --origin audit.example.com/ehr
    tlog append events.ndjson
    tlog query --user n.varga --json | jq '.events[].eventId'
    tlog verify proof --vkey @log.vkey --event EVENT_ID.event.json EVENT_ID.tlog-proof

Results go to standard output, everything else to standard error. An error becomes one line that says what happened and what
to do, and an exit code (docs/reference/cli.md, "Exit codes"); so do Ctrl-C and a reader that goes away, without the line.

Modules here import at their top only what the help needs: a function imports what its command needs when it runs, because
`tlog --help` has to be there at once, and the server, the database and numpy take longer than that to load.

Left out: colours other than those of tables and progress, and completion for shells.
"""
