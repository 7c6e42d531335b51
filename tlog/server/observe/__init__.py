"""What an operator sees of the service: figures, a line for each request, and checks that run aside.

Nobody who watches a service may learn from it what is in the log. So a line and a figure name the template of a path and
the ID of an API key, never a path as it was sent, a query, a principal or an event.

    `metrics`  what this process counts and sees, in the Prometheus text format
    `distributions`  histograms that cost a request almost nothing
    `figures`  what is looked up once a second: how far the log is, disk, database, API keys
    `outcomes`  what the log says of itself, counted
    `accesslog`  one line of JSON for each request
    `checks`  `tlog fsck` of the whole log, in a process of its own
    `ready`  whether the service should get traffic, by a look at the database each second

Words:

- *appended*: acknowledged as durable. Events that were in the log already are counted apart, as duplicates.
- *template*: the path as the routes have it, such as `/v1/audit/events/{event_id}`.
- *leading*: whether this service is the one that seals, or indexes; of several services of a log one is.

Of these figures two are worth an alarm: `events_waiting` that grows, and `disk_low` of 1, when nothing is appended any more:

    $ curl -s localhost:8080/metrics | grep -v '#'
    tlog_events_appended_total 20000.0
    tlog_events_waiting 0.0
    tlog_disk_low 0.0
    tlog_sealed_size 20001.0
    tlog_indexed_size 20001.0

Watching costs the watched little: lines are written by a thread of their own, and dropped and counted if nobody reads them;
a check gives way to the service, and there is at most one.

Left out: tracing, and keeping figures over time; a Prometheus does that.
"""
