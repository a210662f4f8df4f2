"""One configuration, trained: the arithmetic of a trial, without Ray and Optuna."""
