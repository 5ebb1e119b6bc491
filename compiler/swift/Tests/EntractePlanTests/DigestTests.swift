import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan

@Test func digestsAreTheSame() throws {
    let records = try JSON(parsing: Vectors.data("digests.json")).asList ?? []
    #expect(records.count > 100)
    for record in records {
        if let n = record["bytes"]?.asWhole {
            let message = Data((0 ..< n).map { UInt8(truncatingIfNeeded: 7 * $0 + n) })
            #expect(SHA256.hex(message) == record["sha256"]?.asText, "\(n) bytes")
            var pieces = SHA256()
            for start in stride(from: 0, to: n, by: 13) {
                pieces.update(message[start ..< min(n, start + 13)])
            }
            #expect(hexadecimal(pieces.finished()) == record["sha256"]?.asText, "\(n) bytes in pieces")
        } else if let ports = record["ports"]?.asList {
            try checkArrays(ports, record)
        } else {
            let model = try #require(record["model"]?.asText)
            let weights = record["weights"]?.asText
            #expect(PackageFiles.digest(model: model, weights: weights) == record["digest"]?.asText)
            #expect(PackageFiles.manifest(model: model, weights: weights) == record["manifest"]?.asText)
        }
    }
}

/// Files of arrays begin with these bytes, and arrays lie there.
private func checkArrays(_ ports: [JSON], _ record: JSON) throws {
    let layout = ArraysLayout(try ports.map { port in
        Port(
            name: try #require(port[0]?.asText), shape: (port[1]?.asList ?? []).compactMap(\.asWhole),
            dtype: try #require(DType(rawValue: port[2]?.asText ?? "")))
    })
    #expect(layout.header.count == record["header_bytes"]?.asWhole)
    #expect(SHA256.hex(Data(layout.header)) == record["sha256"]?.asText)
    let places = (record["places"]?.asList ?? []).map { ($0[0]?.asWhole ?? -1) ..< ($0[1]?.asWhole ?? -1) }
    #expect(layout.places == places)
}

@Test func everyHalfIsAFloat() throws {
    let wanted = try Vectors.data("fp16.bin")
    #expect(wanted.count == 4 * 65_536)
    let halves = (0 ..< 65_536).map { UInt16($0) }
    var floats = [Float](repeating: 0, count: 65_536)
    halves.withUnsafeBufferPointer { from in
        floats.withUnsafeMutableBufferPointer { Half.floats(from, into: $0) }
    }
    var back = [UInt16](repeating: 0, count: 65_536)
    floats.withUnsafeBufferPointer { from in
        back.withUnsafeMutableBufferPointer { Half.bits(from, into: $0) }
    }
    wanted.withUnsafeBytes { bytes in
        for half in 0 ..< 65_536 {
            let bits = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * half, as: UInt32.self))
            if floats[half].bitPattern != bits || Half.float(UInt16(half)).bitPattern != bits {
                Issue.record("\(half): \(floats[half].bitPattern), not \(bits)")
            }
        }
    }
    #expect(back == halves)
}

@Test func floatsBecomeTheNearestHalves() throws {
    let data = try Vectors.data("fp32.bin")
    let count = data.count / 6
    #expect(count > 10_000)
    data.withUnsafeBytes { bytes in
        for k in 0 ..< count {
            let bits = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * k, as: UInt32.self))
            let half = UInt16(
                littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * count + 2 * k, as: UInt16.self))
            let made = Half.bits(Float(bitPattern: bits))
            if made != half { Issue.record("\(bits): \(made), not \(half)") }
        }
    }
}
