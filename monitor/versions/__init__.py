"""Two model versions compared: shared labels, a new version's contract, candidate judgement, rollback advice.

Input: labels and predictions of both versions. Output: verdicts with their reasons; `retrain` and people act on them.
"""
