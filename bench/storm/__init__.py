"""The storm: everything that may go wrong with workers and clients, at once and at random, and then an audit.

`supervisor` runs it: `workers` has the workers and strikes them, `load` sends numbered events from several processes,
`hostile` sends what no client should, and `machine` is what they are sent to, with functions that hang or end their
process. All of them write what they do into `journals`; `audit` compares these with what the instances have become.
"""
