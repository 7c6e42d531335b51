"""The command line: `app` is the table of commands, each other module a group of them or what they share."""
