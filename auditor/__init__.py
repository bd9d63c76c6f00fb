"""The auditor: reads both databases and reports violated invariants of money and progress. It changes nothing."""
