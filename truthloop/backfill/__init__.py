"""Backfills of one loop: whom they touch, what they would change, and what is made of it."""
