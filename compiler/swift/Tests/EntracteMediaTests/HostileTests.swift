import Foundation
import Testing

@testable import EntracteMedia
@testable import EntractePlan

/// Numbers by SplitMix64, the same in every run.
private struct Draws: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var x = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
        return x ^ (x >> 31)
    }
}

/// Bytes changed, left out and put in: what is read of that is a tensor or one message, never a crash.
@Test func damagedFilesAreRefusedOrRead() async throws {
    let media = MediaInputs(Codecs(pictures: [PNGDecoder(), PNMDecoder()], sounds: [WavReader()]))
    var draws = Draws(state: 7), refused = 0, read = 0
    let records = try Record.all("read")
    try await withFolder { folder in
        for record in records {
            let given = input(record.json["input"] ?? .null), path = folder + "/x" + record.text("ending")
            for _ in 0..<12 {
                let bytes = damaged(record.json["file"]?.bytes ?? [], &draws)
                try Data(bytes).write(to: URL(fileURLWithPath: path))
                do {
                    let made = try await media.tensor(of: given, file: path)
                    #expect(made.shape == given.port?.shape)
                    read += 1
                } catch let fault as Fault {
                    #expect(fault.message.hasPrefix("input 'x': \(path): ") && !fault.message.contains("\n"))
                    refused += 1
                }
            }
        }
    }
    #expect(refused > 500 && read > 100)
}

private func damaged(_ file: [UInt8], _ draws: inout Draws) -> [UInt8] {
    var made = file
    guard !made.isEmpty else { return [0] }
    for _ in 0..<Int.random(in: 1...3, using: &draws) {
        let at = Int.random(in: 0..<made.count, using: &draws)
        switch Int.random(in: 0..<5, using: &draws) {
        case 0: made[at] = UInt8.random(in: 0...255, using: &draws)
        case 1: made[at] = [0, 255, 127, 128].randomElement(using: &draws) ?? 0
        case 2: made.insert(UInt8.random(in: 0...255, using: &draws), at: at)
        case 3 where made.count > 1: made.remove(at: at)
        default: made = Array(made.prefix(at + 1))
        }
    }
    return made
}

/// Checksums of the parts made right again, so that what is behind them is met too.
@Test func damagedPicturesBehindRightChecksums() async throws {
    var draws = Draws(state: 11), refused = 0
    for record in try Record.all("read") where record.text("ending") == ".png" {
        let file = record.json["file"]?.bytes ?? []
        for _ in 0..<40 {
            do {
                _ = try PNGDecoder.pixels(summed(damaged(file, &draws)))
            } catch is MediaFault { refused += 1 }
        }
    }
    #expect(refused > 300)
}

private func summed(_ file: [UInt8]) -> [UInt8] {
    var made = file, at = 8
    while let length = made.big(at, 4), Int(length) <= made.count - at - 12 {
        var sum: [UInt8] = []
        sum.append(big: crc32(made[at + 4..<at + 8 + Int(length)]))
        made.replaceSubrange(at + 8 + Int(length)..<at + 12 + Int(length), with: sum)
        at += 12 + Int(length)
    }
    return made
}

@Test func whatIsPackedNeverGivesMoreThanIsAskedFor() throws {
    // A megabyte of zeros in a thousand bytes.
    let bomb = packed([UInt8](repeating: 0, count: 1 << 20))
    #expect(bomb.count < 1 << 16)
    #expect(throws: MediaFault.self) { try Inflate.zlib(bomb, size: (1 << 20) + 1) }
    #expect(try Inflate.zlib(bomb, size: 1000).count == 1000)
    #expect(try Inflate.zlib(bomb, size: 1 << 20) == [UInt8](repeating: 0, count: 1 << 20))
}
