"""From evidence to a decision, and from a decision to one signed request for a retrain.

Evaluations come in from `monitor` and move the gate (`retrain.policy`, `retrain.gate`), whose log is in the lake
(`retrain.decision_log`). Requests go out to a target (`retrain.sender`), and people's rulings about backfills come in
(`retrain.approval`). Training is the receiving pipeline's job.
"""
