import Foundation

// entracte-bench NAME ARGS...: figures of the runner's own work, each in a file of its own.
let words = Array(CommandLine.arguments.dropFirst())
switch words.first {
case "plan": try benchPlan(Array(words.dropFirst()))
default: print("entracte-bench plan FOLDER")
}
