"""Search in the directory: what an entry is found by, what a query needs, what fits best, and pages of results.

Nothing here does I/O. An index keeps the `parley.addressbook.searching.keys.postings` of every entry; a
`parley.addressbook.searching.stages.Search` says which of them it wants, is given the entries behind them, and puts a page
together.
"""
