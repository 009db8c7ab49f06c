"""What the scripts that measure share: types of arguments, exports to compare with, timing, tables and reports.

Imports paddle_pointrend, and no script.
"""
