"""The running roles on one machine: wiring of clients, folders, health and signals; the supervisor; file replay."""
