"""The guard at the door: what is decided about a request before an endpoint sees it.

Whoever can reach the port can send anything, slowly, in great numbers. Each refusal is made as early as it can be, when it
has cost least: first without a byte of the body, then without the database, then without parsing.

    `protocol`  deadlines and limits while a request arrives; nothing that two parsers would cut differently
    `quick`  one event in a request, past ASGI
    `auth`  API keys: bearer tokens with scopes, compared in constant time
    `about`  keys for one person's answers: what they may ask
    `parameters`  query parameters and paths: nothing unknown, nothing twice, nothing that is no UTF-8
    `fields`  header fields: what a body is in, which answer is wanted
    `public`  what needs no key
    `cors`  which web pages may read the public half in a browser
    `account`  the memory of all requests that append, shared fairly
    `admission`  key, rate, disk and queue, decided before the body is read
    `opened`  which index buckets a key's evidence has opened today
    `bulk`  how many exports, bundles and scans there are at a time, and how much of large pages
    `turns`  batches are drafted one after the other, and give way to answers

Words:

- *API key*: who asks. It has a *scope* (append, read or admin) and a *principal*, the name under which the journal logs it.
- *token*: what the key's owner sends, `tlog_<key ID>_<secret>`. Stored is only a keyed digest of it.
- *rate*: events per second of one key, averaged over a second. A large batch is let in whole and paid for by waiting.

A rate of two per second, asked three times at once (time is an argument):

    >>> from tlog.server.guard.admission import Bucket
    >>> bucket = Bucket(2, now=0.0)
    >>> [bucket.take(now=0.0) for _ in range(3)]  # how many seconds to wait; 0 means: go on
    [0.0, 0.0, 0.5]
    >>> bucket.take(now=0.5)
    0.0

Left out: TLS and limits per address, which belong to a proxy; and whether an event is valid, which `tlog.writing.drafting`
says.
"""
