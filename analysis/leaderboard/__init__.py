"""Test accuracy of every variant on every task, with averages, caveats and published results."""
