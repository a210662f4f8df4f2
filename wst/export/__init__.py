"""Copies of a ledger for other programs; nothing is ever read back from them."""
