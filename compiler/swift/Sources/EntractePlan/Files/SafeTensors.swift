import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A `.safetensors` file, mapped into memory: what is not asked for is not read.
///
/// For files of a build, whose bytes were checked; what a user names is read in pieces (EntracteMedia).
package final class SafeTensors: @unchecked Sendable {
    package typealias Entry = SafeTensorsHeader.Entry

    /// In the order of their bytes.
    package let entries: [Entry]
    private let memory: UnsafeMutableRawPointer
    private let size: Int
    private let base: Int

    /// Raises `Fault`, whose message begins with the path, for what is no such file.
    package init(_ path: String) throws {
        let (memory, size) = try Self.mapped(path)
        do {
            let whole = UnsafeRawBufferPointer(start: memory, count: size)
            base = try SafeTensorsHeader.end(whole, fileBytes: size)
            entries = try SafeTensorsHeader(
                UnsafeRawBufferPointer(rebasing: whole[8 ..< base]), tensorBytes: size - base).entries
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
    package func entry(_ name: String) -> Entry? { entries.first { $0.name.utf8.elementsEqual(name.utf8) } }

    /// An entry's bytes as they stand in the file, while `use` runs.
    package func withBytes<T>(_ entry: Entry, _ use: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
        let whole = UnsafeRawBufferPointer(start: memory, count: size)
        return try withExtendedLifetime(self) {
            try use(UnsafeRawBufferPointer(rebasing: whole[(base + entry.begin) ..< (base + entry.end)]))
        }
    }

    /// A copy of an entry of type `F16`, `F32` or `I32`; nil of another type.
    package func tensor(_ entry: Entry) -> Tensor? {
        let types: [String: DType] = ["F16": .fp16, "F32": .fp32, "I32": .int32]
        guard let dtype = types[entry.dtype] else { return nil }
        let made = Tensor(zeros: entry.shape, dtype)
        withBytes(entry) { made.bytes.copyMemory(from: $0) }
        return made
    }

    /// A copy of an entry as a tensor of a type: what is stored as `F32` may become fp16. Nil where the
    /// entry is of another type.
    package func tensor(_ entry: Entry, as dtype: DType) -> Tensor? {
        guard let tensor = tensor(entry) else { return nil }
        if tensor.dtype == dtype { return tensor }
        guard tensor.dtype == .fp32, dtype == .fp16 else { return nil }
        let made = Tensor(zeros: entry.shape, .fp16)
        Half.bits(UnsafeBufferPointer(tensor.floats), into: made.halves)
        return made
    }

    private static func mapped(_ path: String) throws -> (UnsafeMutableRawPointer, Int) {
        let file: RegularFile?
        do {
            file = try RegularFile(path)
        } catch let fault as RegularFile.Unreadable {
            if let why = fault.why { throw Fault.plan("\(path): cannot be read (\(why))") }
            file = nil
        }
        guard let file, file.state.sizeBytes > 8 else {
            throw Fault.plan("\(path): is no whole safetensors file; compile again")
        }
        return (try file.mapped(path), file.state.sizeBytes)
    }
}
