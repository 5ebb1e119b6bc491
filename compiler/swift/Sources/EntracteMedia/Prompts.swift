import EntractePlan
import EntracteRuntime
import Foundation

/// A file's prompts: a line each, in UTF-8; empty lines are left out. Throws `Fault`.
public func prompts(in path: String) throws -> [String] {
    let most = 10 << 20
    let file: InputFile, bytes: [UInt8]
    do {
        file = try InputFile(path)
        guard file.sizeBytes <= most else {
            throw Fault.run("--prompts \(path): larger than 10 MiB; give fewer prompts")
        }
        bytes = try file.read(0, file.sizeBytes)
    } catch let fault as MediaFault {
        throw Fault.run("--prompts \(path): \(fault.message); give a file with a prompt in each line")
    }
    let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    guard let text = String(validating: bytes.starts(with: mark) ? Array(bytes.dropFirst(3)) : bytes) else {
        throw Fault.run("--prompts \(path): is no text in UTF-8; save it so")
    }
    let found = text.unicodeScalars.split(whereSeparator: isLineEnd).map(stripped).filter { !$0.isEmpty }
    guard !found.isEmpty else {
        throw Fault.run("--prompts \(path): there is no prompt in it; write one in each line")
    }
    return found
}

/// What ends a line in Python's eyes.
private func isLineEnd(_ c: Unicode.Scalar) -> Bool {
    (0x0A...0x0D).contains(c.value) || (0x1C...0x1E).contains(c.value) || [0x85, 0x2028, 0x2029].contains(c.value)
}

/// Without spaces around it, as Python counts them.
private func stripped(_ line: Substring.UnicodeScalarView) -> String {
    func isSpace(_ c: Unicode.Scalar) -> Bool { c.properties.isWhitespace || (0x1C...0x1F).contains(c.value) }
    let begun = line.drop(while: isSpace)
    guard let last = begun.lastIndex(where: { !isSpace($0) }) else { return "" }
    return String(begun[...last])
}

extension String {
    /// Nil of what is no UTF-8: nothing is mended.
    fileprivate init?(validating bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.utf8.elementsEqual(bytes) else { return nil }
        self = text
    }
}
