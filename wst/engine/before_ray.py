"""Settings of Ray's, which reads most of them once, when it is imported; so this is imported first."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves trials beside any other program
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a slot without a GPU sees none
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the newer output prints even when told to be silent
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ray's own makes fit() return as if all were well
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # CSV, JSON and TensorBoard files cost 120 ms a trial
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")  # its state is never read
os.environ["TUNE_RESULT_BUFFER_LENGTH"] = "1"  # no step before the report of the one before it was taken
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
