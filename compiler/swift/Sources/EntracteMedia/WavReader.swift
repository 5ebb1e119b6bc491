import Foundation

/// Reads .wav: PCM of 8, 16, 24 and 32 bits, floats of 32 and 64.
public struct WavReader: SoundDecoder {
    public init() {}

    public var endings: [String] { [".wav"] }

    public func sound(of file: URL, needed: @Sendable (_ rate: Int) -> Int) async throws -> Sound {
        let file = try InputFile(file.path)
        let form = try WavForm(file)
        let many = min(needed(form.rate), form.dataBytes / form.frameBytes)
        var samples: [Double] = []
        samples.reserveCapacity(many)
        while samples.count < many {
            let count = min(1 << 16, many - samples.count)
            let bytes = try file.read(form.begin + samples.count * form.frameBytes, count * form.frameBytes)
            let before = samples.count
            form.append(bytes, to: &samples)
            if samples.count == before { break }
        }
        return Sound(rate: form.rate, samples: samples)
    }
}

/// What the parts of a .wav before its samples say.
struct WavForm {
    let rate: Int
    let channels: Int
    let bits: Int
    let isFloat: Bool
    /// Where its samples begin, and how many bytes there are.
    let begin: Int
    let dataBytes: Int

    var frameBytes: Int { channels * bits / 8 }

    /// Throws `MediaFault` for what is no .wav or of a kind that is not read.
    init(_ file: InputFile) throws {
        let head = try file.read(0, 12)
        guard head.starts(with: Array("RIFF".utf8)), head.dropFirst(8).starts(with: Array("WAVE".utf8)) else {
            throw MediaFault("is no .wav; give it as one")
        }
        var at = 12, form: [UInt8]?
        while true {
            let part = try file.read(at, 8)
            guard let size = part.little(4, 4).map({ Int($0) }) else {
                throw MediaFault("there is no sound in it")
            }
            let name = String(decoding: part.prefix(4), as: UTF8.self)
            if name == "fmt " { form = try file.read(at + 8, min(size, 64)) }
            if name == "data" {
                begin = at + 8
                dataBytes = min(size, file.sizeBytes - begin)
                break
            }
            at += 8 + size + size % 2
        }
        guard let form, var kind = form.little(0, 2), let channels = form.little(2, 2),
            let rate = form.little(4, 4), let block = form.little(12, 2), let bits = form.little(14, 2)
        else { throw MediaFault("says nothing of its samples; is it whole?") }
        if kind == 0xFFFE, let own = form.little(24, 2) { kind = own }
        let isKnown = kind == 1 ? [8, 16, 24, 32].contains(bits) : kind == 3 && [32, 64].contains(bits)
        guard isKnown else {
            throw MediaFault(
                "its samples are of \(bits) bits in form \(kind); give PCM of 8, 16, 24 or 32 bits, or floats")
        }
        guard channels > 0, block == channels * bits / 8 else {
            throw MediaFault("its \(channels) channels do not lie in \(block) bytes")
        }
        self.rate = Int(rate)
        self.channels = Int(channels)
        self.bits = Int(bits)
        isFloat = kind == 3
    }

    /// The mean of the channels of whole frames.
    func append(_ bytes: [UInt8], to samples: inout [Double]) {
        let wide = bits / 8
        for at in stride(from: 0, through: bytes.count - frameBytes, by: frameBytes) {
            var sum = 0.0
            for c in 0..<channels { sum += sample(bytes, at + c * wide) }
            samples.append(sum / Double(channels))
        }
    }

    private func sample(_ bytes: [UInt8], _ at: Int) -> Double {
        var raw: UInt64 = 0
        for k in 0..<bits / 8 { raw |= UInt64(bytes[at + k]) << UInt64(8 * k) }
        if isFloat {
            return bits == 32
                ? Double(Float(bitPattern: UInt32(truncatingIfNeeded: raw))) : Double(bitPattern: raw)
        }
        if bits == 8 { return (Double(raw) - 128) / 128 }
        let shift = UInt64(64 - bits)
        return Double(Int64(bitPattern: raw << shift) >> Int64(shift)) / Double(1 << (bits - 1))
    }
}
