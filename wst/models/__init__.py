"""Adapted models: a frozen backbone, a method, a head; and their weights."""
