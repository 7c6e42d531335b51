"""The auditor's pages under `/ui`: ask, read the answer, and have it proved in the browser; with links that are the question.

A page is made on the server from a template, and works without a script. It then says NOT CHECKED, because what the server says
of itself proves nothing. With a script the browser fetches the evidence for the question in its own URL, verifies that, and
writes each row anew from what it verified. The script comes from the server, too: only what is checked offline is independent
of the operator, and the pages say so.

    `routes`  which page is where, who gets to see it, errors as pages
    `site`  what the pages work with
    `address`  where they are reached: accepted hosts, the cookie
    `sessions`  who is signed in
    `signing_in`  the form, and the way out
    `failures`  refused sign-ins, counted
    `opening`  requests that another site made somebody's browser send
    `answers`  questions asked and laid out as tables
    `rows`  events as rows, disclosures accounted for
    `ask`  `/ui`, the question and its answer
    `event`  one event with its proof
    `timeline`  what became of one resource
    `reports`  access report and accounting of disclosures
    `health`  how the log is doing
    `downloads`  evidence and exports
    `zones`  times as people write and read them
    `assets`  templates, static files, and the policy of the pages

What a page asks is journaled before it leaves, as a question over HTTP is, with the person as actor:

    GET /ui?resourceType=patient_record&resourceId=P-1007&from=2026-03-01&to=2026-04-01&tz=Europe/Budapest

Left out: what an answer is (`tlog.answering`), and what a proof is worth (`static/verify.js`, docs/reading-a-verdict.md).
"""
