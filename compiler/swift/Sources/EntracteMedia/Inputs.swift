import EntractePlan
import struct EntractePlan.Port
import EntracteRuntime
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Files that a user gives -> tensors, as docs/plan-format.md, "Inputs", says.
///
/// Files may be anybody's: they are looked at before they are decoded, and whatever a decoder has against one
/// is one message.
public struct MediaInputs: Sendable {
    private let codecs: Codecs

    public init(_ codecs: Codecs) { self.codecs = codecs }

    /// The tensor of an image, video, audio or tensor input whose file is given. Throws `Fault`.
    public func tensor(of input: Input, file path: String) async throws -> Tensor {
        guard let port = input.port else {
            throw Fault.run("input '\(input.name)': \(path): a \(input.kind.rawValue) is given as it is")
        }
        let ending = try check(input, path)
        let place = "input '\(input.name)': \(path)"
        do {
            switch input.kind {
            case .image: return try await image(input, port, path, ending)
            case .video: return try await video(input, port, path, ending)
            case .audio: return try await audio(input, port, path, ending)
            default: return try tensorFile(input.name, port, path, ending)
            }
        } catch let fault as MediaFault {
            throw Fault.run("\(place): \(fault.message)")
        } catch let fault as Fault {
            throw fault
        } catch {
            throw Fault.run(
                "\(place): cannot be read as \(input.kind.rawValue) (\(String("\(error)".prefix(200)))); is it whole?")
        }
    }

    // ------------------------------------------------------------ the file

    private static let mostBytes: [Input.Kind: Int] = [
        .image: 1 << 28, .video: 1 << 34, .audio: 1 << 32, .tensor: 1 << 34,
    ]

    /// Endings of files that are read here.
    public func endings(of kind: Input.Kind) -> [String] {
        switch kind {
        case .image: codecs.pictures.flatMap(\.endings)
        case .video: codecs.videos.flatMap(\.endings)
        case .audio: codecs.sounds.flatMap(\.endings)
        default: [".npy", ".npz", ".safetensors"]
        }
    }

    /// A regular file of an ending and a size that the kind has: the ending. Throws `Fault`.
    private func check(_ input: Input, _ path: String) throws -> String {
        let place = "input '\(input.name)': \(path)"
        guard !path.utf8.contains(0), let state = FileState(path, follow: true) else {
            let why = path.utf8.contains(0) ? "no name of a file" : systemWords(errno)
            throw Fault.run("\(place): \(why); give a file")
        }
        guard state.kind == .regular else {
            throw Fault.run("\(place): is no regular file; give one")
        }
        let endings = endings(of: input.kind), ending = ending(of: path)
        guard endings.contains(ending) else {
            let kind = input.kind.rawValue
            guard !endings.isEmpty else {
                throw Fault.run(
                    "\(place): nothing here reads a \(kind); run the plan on an Apple device, or by `plan run`")
            }
            throw Fault.run(
                "\(place): give \(an(kind)), a file that ends in \(endings.joined(separator: ", "))")
        }
        let most = Self.mostBytes[input.kind] ?? 0
        guard state.sizeBytes > 0 else { throw Fault.run("\(place): is empty") }
        guard state.sizeBytes <= most else {
            throw Fault.run("\(place): has \(state.sizeBytes) bytes, at most \(most) are read")
        }
        guard access(path, R_OK) == 0 else { throw Fault.run("\(place): you may not read it") }
        return ending
    }

    // ------------------------------------------------------------ kinds

    private func image(_ input: Input, _ port: Port, _ path: String, _ ending: String) async throws -> Tensor {
        guard let decoder = codecs.pictures.first(where: { $0.endings.contains(ending) }) else {
            throw MediaFault("nothing here reads it")
        }
        let pixels = try await decoder.pixels(of: URL(fileURLWithPath: path))
        let sides = try sides(port, axes: 4)
        let made = Tensor(zeros: port.shape, .fp32)
        try put(pixels, input, sides, made, frame: 0, frames: 1)
        return made
    }

    private func video(_ input: Input, _ port: Port, _ path: String, _ ending: String) async throws -> Tensor {
        guard let decoder = codecs.videos.first(where: { $0.endings.contains(ending) }) else {
            throw MediaFault("nothing here reads it")
        }
        let sides = try sides(port, axes: 5), frames = port.shape[2]
        let source = try await decoder.open(URL(fileURLWithPath: path))
        let made = Tensor(zeros: port.shape, .fp32)
        let done = try await eachShown(source, rate: input.rate, many: frames) { k, pixels in
            try put(pixels, input, sides, made, frame: k, frames: frames)
        }
        guard done == frames else {
            let rate = input.rate > 0 ? " at \(general(input.rate)) a second" : ""
            throw MediaFault("has \(done) frames\(rate), \(frames) are needed; give a longer one")
        }
        return made
    }

    /// Height and width of (1, 3, ..., height, width).
    private func sides(_ port: Port, axes: Int) throws -> (height: Int, width: Int) {
        let shape = port.shape
        guard shape.count == axes, shape[0] == 1, shape[1] == 3, shape.allSatisfy({ $0 > 0 }) else {
            throw MediaFault("becomes no tensor of \(words(shape))")
        }
        return (shape[axes - 2], shape[axes - 1])
    }

    private func put(
        _ pixels: Pixels, _ input: Input, _ sides: (height: Int, width: Int), _ made: Tensor, frame: Int, frames: Int
    ) throws {
        let area = sides.height * sides.width
        guard let planes = made.floats.baseAddress, made.count == 3 * frames * area else {
            throw MediaFault("becomes no tensor of \(words(made.shape))")
        }
        pixels.put(input, sides.height, sides.width, planes + frame * area, stride: frames * area)
    }

    private func audio(_ input: Input, _ port: Port, _ path: String, _ ending: String) async throws -> Tensor {
        guard let decoder = codecs.sounds.first(where: { $0.endings.contains(ending) }) else {
            throw MediaFault("nothing here reads it")
        }
        guard port.shape.count == 2, input.rate > 0 else {
            throw MediaFault("becomes no tensor of \(words(port.shape))")
        }
        let many = port.shape[1], wanted = input.rate
        let sound = try await decoder.sound(of: URL(fileURLWithPath: path)) { rate in
            samplesNeeded(given: max(1, rate), wanted: wanted, many: many)
        }
        guard (1...1_000_000).contains(sound.rate) else {
            throw MediaFault("has \(sound.rate) samples a second")
        }
        // A rate comes from a plan, which may say any.
        guard Double(sound.rate) / wanted < 0x1p32 else {
            throw MediaFault("has \(sound.rate) samples a second, too many for \(general(wanted))")
        }
        guard !sound.samples.isEmpty else { throw MediaFault("there is no sound in it") }
        let samples = resampled(sound.samples, given: sound.rate, wanted: wanted, many: many)
        // -1 is `low`, 1 is `high`.
        let made = Tensor(zeros: port.shape, .fp32), low = input.low, range = input.high - input.low
        guard made.count == many else { throw MediaFault("becomes no tensor of \(words(port.shape))") }
        for k in 0..<many {
            let unit: Double = (samples[k] + 1) / 2
            made.floats[k] = Float(low + range * unit)
        }
        return made
    }
}

// ---------------------------------------------------------------- words

/// The ending of a file's name, with its dot, in small letters; empty where it has none.
func ending(of path: String) -> String {
    let name = path.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex, name.index(after: dot) < name.endIndex else {
        return ""
    }
    return name[dot...].lowercased()
}

/// A word with its article.
func an(_ word: String) -> String {
    "\(word.first.map { "aeiou".contains($0) } == true ? "an" : "a") \(word)"
}

/// A number in six digits at most, as `%g` has it.
func general(_ value: Double) -> String { String(format: "%g", value) }

extension MediaInputs {
    /// What reads files for `Given`: the tensor, and the digest of the file's bytes.
    public var reading: Given.Reading {
        { input, path in
            let tensor = try await tensor(of: input, file: path)
            return EntracteRuntime.ReadFile(tensor: tensor, sha256: try FileDigests.read(path))
        }
    }
}
