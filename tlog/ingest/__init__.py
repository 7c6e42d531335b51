r"""Events from elsewhere: files of events, and the logs of other systems mapped to events.

A reader of a format yields one JSON text for each event; what happens to them afterwards is the same for all formats, and
the same as for a request over HTTP. Nothing is appended before everything was found valid, and every event keeps its
eventId, so an import that was interrupted is simply repeated.

    `ndjson`  tlog's own format, one JSON text in each line
    `cloudtrail`  AWS CloudTrail, mapped (docs/reference/cloudtrail-mapping.md)
    `mapping`  records mapped as a TOML or JSON file says, ten of which are in `maps/` (docs/reference/mapping-language.md)
    `plan`  what such a file says of each member of an event, compiled and followed
    `rules`  the rules it says that with
    `pointers`  the pointers of the rules
    `fhir`  FHIR AuditEvents, mapped (docs/how-to/import-from.md)
    `importing`  checks what they yield, and appends it in batches

Words:

- *item*: one event to import: its JSON text, and its place in the file for messages, such as "day.ndjson, line 7".
- *mapping*: a pure function from another system's record to an event. It loses nothing: what has no place of its own goes
  into `metadata`, and the same record always gets the same eventId.

A line ends at a newline and nowhere else; a blank line is no event, but counts:

    >>> from io import BytesIO
    >>> from tlog.ingest.ndjson import read_ndjson
    >>> for item in read_ndjson(BytesIO(b'{"action":"read"}\n\n{"action":"write"}\n'), "day.ndjson"):
    ...     print(item.place, item.raw.decode())
    day.ndjson, line 1 {"action":"read"}
    day.ndjson, line 3 {"action":"write"}

A new format is a module beside these with one such reader, and a page that says in words what becomes of each member.

Left out: parsing events and appending them, which is `tlog.writing`; and watching a file that grows.
"""
