"""What is said: statements, cases, laws, problems, and the formats that all parties compute alike.

Pure: no clock, no wire, no disk (but package data, read once), no randomness except as a parameter. The same bytes give the
same answer at the gateway, at the desk, at the authority, and before a judge ten years later.
"""
