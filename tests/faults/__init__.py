"""Faults: what is killed, damaged, full or read-only leaves the last good file, one clear line, and can go on."""
