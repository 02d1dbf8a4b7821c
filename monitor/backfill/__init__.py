"""Labels that restate the past: how they are noticed, what they would change, and what the rules say of them.

Hourly counts and labels before and after come in; episodes, diffs and verdicts go out. A person's ruling is taken in
`retrain`.
"""
