"""Measures of generated data: functions of arrays, no estimator."""
