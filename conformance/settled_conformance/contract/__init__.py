"""An executable model of the ports' contract, against which every answer of a backend is checked.

The law of this package: it knows calls and their answers, and nothing of how an adapter works. Where the contract
leaves a backend free (duplicates, the order between two clients, the outcome of a call whose answer was lost), so does
the model.
"""
