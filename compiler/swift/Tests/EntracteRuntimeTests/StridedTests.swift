import EntractePlan
import EntracteRuntime
import Testing

/// Element by element, from the definition of a stride.
private func expected<T>(_ source: [T], _ shape: [Int], _ strides: [Int]) -> [T] {
    (0..<shape.reduce(1, *)).map { number in
        var rest = number
        var at = 0
        for axis in shape.indices.reversed() {
            at += rest % shape[axis] * strides[axis]
            rest /= shape[axis]
        }
        return source[at]
    }
}

private func copied<T>(_ source: [T], _ shape: [Int], _ strides: [Int], _ zero: T) throws -> [T] {
    var target = [T](repeating: zero, count: shape.reduce(1, *))
    try source.withUnsafeBytes { from in
        try target.withUnsafeMutableBytes {
            try Strided.copy(
                from: from, shape: shape, strides: strides, widthBytes: MemoryLayout<T>.stride, to: $0)
        }
    }
    return target
}

@Suite struct StridedTests {
    @Test(arguments: [
        ([4], [1]), ([], []), ([2, 3], [3, 1]), ([2, 3], [8, 1]), ([3, 5, 7], [64, 12, 1]),
        ([3, 5, 7], [35, 7, 1]), ([3, 5, 7], [40, 7, 1]), ([1, 5, 7], [999, 16, 1]), ([2, 3, 4, 5], [400, 100, 16, 2]),
        ([2, 3, 4], [1, 2, 6]), ([2, 1, 3], [16, 5, 4]), ([2, 3, 4], [0, 4, 1]), ([0, 4], [8, 1]), ([5, 1, 1], [3, 3, 3]),
    ])
    func everyElementIsWhereItsStrideSays(_ shape: [Int], _ strides: [Int]) throws {
        let reach = zip(shape, strides).reduce(1) { $0 + max(0, $1.0 - 1) * $1.1 }
        let wide = (0..<reach).map { Int32($0) }
        let narrow = (0..<reach).map { UInt16($0) }
        #expect(try copied(wide, shape, strides, 0) == expected(wide, shape, strides))
        #expect(try copied(narrow, shape, strides, 0) == expected(narrow, shape, strides))
    }

    @Test func whatLeadsOutsideIsRefused() {
        let source = [Int32](repeating: 1, count: 15)
        #expect(throws: Fault.self) { try copied(source, [2, 8], [8, 1], 0) }
        #expect(throws: Fault.self) { try copied(source, [2, 3], [-3, 1], 0) }
        #expect(throws: Fault.self) { try copied(source, [2, 3], [3], 0) }
        #expect(throws: Fault.self) { try copied(source, [2, 2], [.max, 1], 0) }
        #expect(throws: Fault.self) { try copied(source, [3, 2], [.max / 2 + 1, 1], 0) }
        var small = [UInt8](repeating: 0, count: 4)
        #expect(throws: Fault.self) {
            try source.withUnsafeBytes { from in
                try small.withUnsafeMutableBytes {
                    try Strided.copy(from: from, shape: [2], strides: [1], widthBytes: 4, to: $0)
                }
            }
        }
    }

    @Test func packedStrides() {
        #expect(Strided.packed([2, 3, 4]) == [12, 4, 1])
        #expect(Strided.packed([]) == [])
    }
}
