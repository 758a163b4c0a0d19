"""The contract as code: what the ports promise, small enough to be read, and checked against every answer.

Its law: it knows what was asked and what was answered, and nothing of how. Wherever the contract leaves a backend free
(a repetition, an order between two clients, an answer that never came), so does this.
"""
