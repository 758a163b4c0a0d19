"""Statecharts as values.

The law of this package: it computes and never does. It reads no clock, draws no random number, opens no file, never
waits, logs or locks. Time, ids and text come in as arguments; what shall be done goes out as data.
"""
