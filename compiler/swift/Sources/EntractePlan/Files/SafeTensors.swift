import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A `.safetensors` file, mapped into memory: what is not asked for is not read.
///
/// Strict: a header of at most 100 MB, tensors that lie side by side without gaps to the file's end, none
/// twice, each as long as its shape and type say.
public final class SafeTensors: @unchecked Sendable {
    public struct Entry: Sendable, Equatable {
        public let name: String
        /// As the file spells it: `F16`, `F32`, `I32`, ...
        public let dtype: String
        public let shape: [Int]
        /// From the first byte behind the header on.
        public let begin: Int
        public let end: Int
    }

    /// In the order of their bytes.
    public let entries: [Entry]
    private let memory: UnsafeMutableRawPointer
    private let size: Int
    private let base: Int

    private static let mostHeaderBytes = 100_000_000
    private static let widths = [
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
        "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
    ]

    /// Raises `Fault`, whose message begins with the path, for what is no such file.
    public init(_ path: String) throws {
        let (memory, size) = try Self.mapped(path)
        do {
            let header = try Self.header(UnsafeRawBufferPointer(start: memory, count: size))
            base = header.base
            entries = try Self.entries(header.value, bytes: size - header.base)
        } catch {
            munmap(memory, size)
            let what = (error as? JSONError)?.message ?? "\(error)"
            throw Fault.plan("\(path): is no whole safetensors file (\(what)); compile again")
        }
        self.memory = memory
        self.size = size
    }

    deinit { munmap(memory, size) }

    /// The entry of that name; nil where there is none.
    public func entry(_ name: String) -> Entry? { entries.first { $0.name.utf8.elementsEqual(name.utf8) } }

    /// An entry's bytes as they stand in the file, while `use` runs.
    public func withBytes<T>(_ entry: Entry, _ use: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
        let whole = UnsafeRawBufferPointer(start: memory, count: size)
        return try withExtendedLifetime(self) {
            try use(UnsafeRawBufferPointer(rebasing: whole[(base + entry.begin) ..< (base + entry.end)]))
        }
    }

    /// A copy of an entry of type `F16`, `F32` or `I32`; nil of another type.
    public func tensor(_ entry: Entry) -> Tensor? {
        let types: [String: DType] = ["F16": .fp16, "F32": .fp32, "I32": .int32]
        guard let dtype = types[entry.dtype] else { return nil }
        let made = Tensor(zeros: entry.shape, dtype)
        withBytes(entry) { made.bytes.copyMemory(from: $0) }
        return made
    }

    /// A copy of an entry as a tensor of a type: what is stored as `F32` may become fp16. Nil where the
    /// entry is of another type.
    public func tensor(_ entry: Entry, as dtype: DType) -> Tensor? {
        guard let tensor = tensor(entry) else { return nil }
        if tensor.dtype == dtype { return tensor }
        guard tensor.dtype == .fp32, dtype == .fp16 else { return nil }
        let made = Tensor(zeros: entry.shape, .fp16)
        Half.bits(UnsafeBufferPointer(tensor.floats), into: made.halves)
        return made
    }

    private static func mapped(_ path: String) throws -> (UnsafeMutableRawPointer, Int) {
        let file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else {
            throw Fault.plan("\(path): cannot be read (\(String(cString: strerror(errno))))")
        }
        defer { close(file) }
        var found = stat()
        guard fstat(file, &found) == 0, FileState(found).kind == .regular, found.st_size > 8 else {
            throw Fault.plan("\(path): is no whole safetensors file; compile again")
        }
        let size = Int(found.st_size)
        guard let memory = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0), memory != MAP_FAILED else {
            throw Fault.plan("\(path): cannot be mapped (\(String(cString: strerror(errno))))")
        }
        return (memory, size)
    }

    private static func header(_ bytes: UnsafeRawBufferPointer) throws -> (value: JSON, base: Int) {
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(mostHeaderBytes), Int(length) <= bytes.count - 8 else {
            throw JSONError(message: "a header of \(length) bytes")
        }
        let base = 8 + Int(length)
        let text = UnsafeRawBufferPointer(rebasing: bytes[8 ..< base])
        guard text.first == UInt8(ascii: "{") else { throw JSONError(message: "its header is no object") }
        return (try JSON(Parser.parse(text), 0), base)
    }

    private static func entries(_ header: JSON, bytes: Int) throws -> [Entry] {
        let named = (header.asMembers ?? []).filter { $0.name != "__metadata__" }
        let found = try named.map { try entry($0.name, $0.value) }
            .sorted { ($0.begin, $0.end) < ($1.begin, $1.end) }
        var at = 0
        for entry in found {
            guard entry.begin == at else {
                throw JSONError(message: "\(words(entry.name)) overlaps or leaves a gap")
            }
            at = entry.end
        }
        guard at == bytes else { throw JSONError(message: "\(at) bytes of tensors in \(bytes)") }
        return found
    }

    private static func entry(_ name: String, _ value: JSON) throws -> Entry {
        let what = "tensor \(words(name))"
        guard let dtype = value["dtype"]?.asText, let width = widths[dtype] else {
            throw JSONError(message: "\(what) has no known type")
        }
        let shape = value["shape"]?.asList.flatMap(wholes) ?? [-1]
        let offsets = value["data_offsets"]?.asList.flatMap(wholes) ?? []
        guard offsets.count == 2, offsets[0] <= offsets[1], value.asMembers?.count == 3 else {
            throw JSONError(message: "\(what) has no place")
        }
        var size = width
        for extent in shape {
            let (product, over) = size.multipliedReportingOverflow(by: extent)
            guard extent >= 0, !over else { throw JSONError(message: "\(what) has no shape") }
            size = product
        }
        guard size == offsets[1] - offsets[0] else {
            throw JSONError(message: "\(what) has \(offsets[1] - offsets[0]) bytes, its shape \(size)")
        }
        return Entry(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
    }

    /// Whole numbers, none below 0; nil where one is another.
    private static func wholes(_ items: [JSON]) -> [Int]? {
        let found = items.compactMap { $0.asWhole }.filter { $0 >= 0 }
        return found.count == items.count ? found : nil
    }
}
