r"""Events from elsewhere: files of events, and the logs of other systems mapped to events.

A reader of a format yields items; what happens to them afterwards is the same for all formats, and the same as for a request
over HTTP. Nothing is appended before everything was checked, and an import that is repeated adds nothing.

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

Words:

- *item*: one record to import: its events as JSON texts, and its place for messages, such as "day.ndjson, line 7".
- *mapping*: a pure function from a record to events. It loses nothing, and fails on no value.
- *set aside*: written to the file that `--skip-invalid` names, not to the log.

A line ends at a newline and nowhere else; a blank line is no event, but counts:

    >>> from io import BytesIO
    >>> from tlog.ingest.ndjson import read_ndjson
    >>> for item in read_ndjson(BytesIO(b'{"action":"read"}\n\n{"action":"write"}\n'), "day.ndjson"):
    ...     print(item.place, item.events[0].decode())
    day.ndjson, line 1 {"action":"read"}
    day.ndjson, line 3 {"action":"write"}

Left out: parsing events and appending them, which is `tlog.writing`; and watching a file that grows.
"""
