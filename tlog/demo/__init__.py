"""The demonstration: a day in a hospital, appended, proved, verified and attacked.

    `story`     what `tlog demo` shows, chapter by chapter, and the attacks
    `hostile`   how the attacks edit within a run
    `hospital`  the events: a made-up day in a made-up hospital, the same one for the same seed
    `stream`    what `tlog demo --kafka` shows
    `broker`    a real broker of Apache Kafka, for the demo, tests and measurements
    `verifier`  where the offline verifier is, which the demo and `tlog verify log` run as a stranger would

A *story* is a sequence of chapters on real parts: a real server, a real PostgreSQL, HTTP, and the verifier in a process of
its own. An *attack* is a few SQL statements of a superuser who has switched the triggers off; the *verdict* is the line of
`tlog fsck` that names it. A chapter that ends otherwise than it promises ends the demo with exit code 1, so the demo is a
test of the whole as well.

    $ tlog demo --events 1000 --keep
    A log is made and served …
    The hostile administrator …
      deletes entry 500
          row missing: entry 500: …

The events are also the first try of a reader of the documentation, and the samples of the tests:

    from tlog.demo.hospital import hospital_day
    events = [json.dumps(event) for event in hospital_day(100, seed=1)]

Left out: anything that a log needs. No other part of tlog depends on this package, apart from the command line, which
starts the demo and the verifier.
"""
