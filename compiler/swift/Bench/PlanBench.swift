import EntractePlan
import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Reading a build folder's plan, file to checked value: the median and the least of some times.
/// Seconds are the thread's own, whatever else the machine does.
func benchPlan(_ words: [String]) throws {
    let folder = URL(fileURLWithPath: words.first ?? ".")
    let path = folder.appendingPathComponent("plan.json")
    let data = try Data(contentsOf: path)
    let plan = try Plan.read(folder: folder)
    print("\(data.count) bytes, \(plan.chunks.count) chunks, \(plan.forecast.bars.count) bars")
    try measure("read and check") { _ = try Plan.read(folder: folder) }
    let body = data.dropFirst(85).dropLast(3)
    try measure("decode, with its hash") { _ = try Plan.decode(Data(body)) }
    try measure("check") { try plan.check() }
    measure("SHA-256") { _ = SHA256.hex(data) }
    let block = Data(repeating: 7, count: 64 << 20)
    let seconds = measure("SHA-256 of 64 MiB") { _ = SHA256.hex(block) }
    print("  \(Int(67.108864 / seconds)) MB/s")
}

@discardableResult
private func measure(_ what: String, _ work: () throws -> Void) rethrows -> Double {
    var times: [Double] = []
    for _ in 0 ..< 15 {
        let begin = ownSeconds()
        try work()
        times.append(ownSeconds() - begin)
    }
    times.sort()
    print("\(what): \(times[7] * 1e3) ms, at best \(times[0] * 1e3) ms")
    return times[0]
}

/// Seconds that this thread has computed.
private func ownSeconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}
