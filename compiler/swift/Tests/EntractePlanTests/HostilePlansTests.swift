import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan

@Suite struct HostilePlansTests {
    let vectors: HostilePlans

    init() throws { vectors = try HostilePlans.shared.get() }

    @Test func rightPlansAreRead() throws {
        #expect(vectors.plans.count > 12)
        for (name, plan) in vectors.plans {
            let data = HostilePlans.framed(HostilePlans.written(plan))
            #expect(SHA256.hex(data) == vectors.hashes[name], "\(name) is written with the same bytes")
            let read = try Plan.read(framed: data, path: "PLAN")
            let again = try Plan.decode(read.encoded.data())
            #expect(again.encoded == read.encoded)
            #expect(Self.sorted(Self.without(read.encoded)) == Self.sorted(Self.without(plan)))
        }
    }

    /// Fields that the plans of this version may leave out stand in all that is written.
    private static func without(_ value: JSON) -> JSON {
        switch value {
        case .list(let items): .list(items.map(without))
        case .object(let members):
            .object(
                members.filter { $0.value != .text("") || $0.name != "compute_unit" }
                    .filter { $0.name != "reload_on_switch" }
                    .map { .init($0.name, without($0.value)) })
        default: value
        }
    }

    private static func sorted(_ value: JSON) -> Data { value.data(order: .sorted) }

    @Test func aSharedGraphHasFeaturesOfItsOwn() throws {
        let read = try Plan.decode(HostilePlans.written(try #require(vectors.plans["one graph"])))
        let package = try #require(read.packages.first { $0.arrays != nil })
        let (inputs, outputs) = package.features(of: "main")
        #expect(inputs.map(\.name) == ["in0", "w1", "w0"] && outputs.map(\.name) == ["out0"])
        #expect(inputs.map(\.dtype) == [.fp16, .fp32, .fp16] && inputs[2].shape == [27])
        // Two packages of 90 and 40 bytes, a graph of 12, three files of arrays with a page of header each.
        #expect(read.packageBytes == 90 + 40 + 12 + 3 * (16_384 + 70))
    }

    @Test func thereAreMany() { #expect(vectors.records.count > 400) }

    @Test(arguments: 0 ..< 8) func refusalsAreTheSame(share: Int) throws {
        for (n, record) in vectors.records.enumerated() where n % 8 == share {
            let said = Self.said(vectors.file(record))
            let wanted = record["message"]?.asText
            let isSame: Bool
            switch record["by"]?.asText {
            case "prefix": isSame = said?.hasPrefix(wanted ?? "?") == true
            // By the table of host operations, which the runtime has.
            case "host": isSame = true
            default: isSame = said == wanted
            }
            if isSame { continue }
            let about = "\(record["plan"]?.asText ?? ""): \(record["what"]?.asText ?? "")"
            let edits = record["edits"]?.text().prefix(300) ?? ""
            Issue.record("\(about): wants\n  \(wanted ?? "nothing")\nsays\n  \(said ?? "nothing")\n\(edits)")
        }
    }

    private static func said(_ data: Data) -> String? {
        do {
            _ = try Plan.read(framed: data, path: "PLAN")
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Whatever a plan's bytes are, reading ends with a plan or a fault; more of them by
    /// ENTRACTE_DAMAGES.
    @Test func damagedPlansNeverTrap() throws {
        let count = ProcessInfo.processInfo.environment["ENTRACTE_DAMAGES"].flatMap { Int($0) } ?? 1000
        var drawn = Drawn(state: 16)
        let bodies = vectors.plans.keys.sorted().compactMap { vectors.plans[$0] }.map(HostilePlans.written)
        var read = 0
        for n in 0 ..< count {
            var body = [UInt8](bodies[n % bodies.count])
            for _ in 0 ... drawn.below(3) { Self.damage(&body, &drawn) }
            guard let plan = try? Plan.read(framed: HostilePlans.framed(Data(body)), path: "PLAN") else {
                continue
            }
            read += 1
            #expect(plan.program.stepCount > 0)
            #expect(plan.program.tensors.reduce(0) { $0 + $1.sizeBytes } > 0)
        }
        #expect(read > count / 200, "some damages are none")
    }

    private static func damage(_ body: inout [UInt8], _ drawn: inout Drawn) {
        let at = drawn.below(max(body.count, 1))
        switch drawn.below(8) {
        case 0: body = Array(body.prefix(at))
        case 1: body.insert(UInt8(drawn.below(256)), at: at)
        case 2: if at < body.count { body.remove(at: at) }
        case 3, 4: changeDigits(&body, from: at, &drawn)
        case 5: if at < body.count { body[at] ^= UInt8(1 << drawn.below(8)) }
        default:
            let pieces = [
                "-", "9223372036854775807", "1e308", "0", "null", "\"\"", "[]", "{}", "true", "1e-320",
            ]
            changeDigits(&body, from: at, &drawn, to: pieces[drawn.below(pieces.count)])
        }
    }

    /// The first number behind a place becomes another one.
    private static func changeDigits(
        _ body: inout [UInt8], from: Int, _ drawn: inout Drawn, to text: String? = nil
    ) {
        let isDigit = { (c: UInt8) in c >= 48 && c <= 57 }
        guard let first = body.indices.first(where: { $0 >= from && isDigit(body[$0]) }) else { return }
        var end = first
        while end < body.count, isDigit(body[end]) { end += 1 }
        body.replaceSubrange(first ..< end, with: Array((text ?? "\(drawn.below(1 << 20))").utf8))
    }
}

/// SplitMix64: the same numbers on every machine.
struct Drawn {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var x = state
        x = (x ^ x >> 30) &* 0xBF58_476D_1CE4_E5B9
        x = (x ^ x >> 27) &* 0x94D0_49BB_1331_11EB
        return x ^ x >> 31
    }

    mutating func below(_ n: Int) -> Int { Int(next() % UInt64(max(n, 1))) }
}
