"""Ways in besides HTTP: files of events, and other systems' logs mapped to events.

`ndjson` reads tlog's own format, `cloudtrail` maps AWS CloudTrail, `importing` appends what they yield.
"""
