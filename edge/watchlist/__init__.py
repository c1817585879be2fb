"""The list of people to look for: authorisation rules, index, sync, decision."""
