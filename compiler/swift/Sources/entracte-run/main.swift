// The command: see CommandLine.swift when it is there.
print("entracte-run")
