r"""Events from elsewhere: files of events, the logs of other systems mapped to events, and topics of Apache Kafka.

A reader of a format yields items; what happens to them afterwards is the same for all formats, and the same as for a request
over HTTP. Nothing of a file is appended before all of it was checked, and an import that is repeated adds nothing. Of a topic
each message is logged once: how far a log has taken it stands in the log.
    `ndjson`  tlog's own format, one JSON text in each line
    `cloudtrail`  AWS CloudTrail, mapped (docs/reference/cloudtrail-mapping.md)
    `cloudtrail_names`  every id that a CloudTrail record names
    `mapping`  records mapped as a TOML or JSON file says, ten of which are in `maps/` (docs/reference/mapping-language.md)
    `plan`  what such a file says of each member of an event, compiled and followed
    `rules`  the rules it says that with
    `pointers`  the pointers of the rules
    `fhir`  FHIR AuditEvents, mapped (docs/how-to/import-from.md)
    `total`  what becomes of odd values, for every mapping
    `shapes`  what may stand around records: gzip, lists, envelopes
    `reading`  from files to items, mapped or as they stand
    `aside`  what is set aside
    `importing`  checks items, and appends them in batches
    `decoding`  which event a message of a topic is, or why it is none
    `cloudevents`  what a CloudEvent becomes
    `batches`  messages to one request of the appender
    `taking`  batches and what fails; no Kafka in it
    `preparing`  which partitions are taken, and from where on
    `serving`  a taker as a process
    `metrics`  what a taker counts
    `letters`  messages that are no events, shown and tried again
    `comparing`  reads a topic again, to compare it with what was taken
    `kafka`  the one module that speaks to Kafka

An *item* is one record: its events as JSON texts, and its place. A *mapping* is a pure function from a record to events, which
fails on no value. A line ends at a newline and nowhere else; a blank line is no event, but counts:

    >>> from io import BytesIO
    >>> from tlog.ingest.ndjson import read_ndjson
    >>> for item in read_ndjson(BytesIO(b'{"action":"read"}\n\n{"action":"write"}\n'), "day.ndjson"):
    ...     print(item.place, item.events[0].decode())
    day.ndjson, line 1 {"action":"read"}
    day.ndjson, line 3 {"action":"write"}

Left out: parsing events and appending them, which is `tlog.writing`; and watching a file that grows.
"""
