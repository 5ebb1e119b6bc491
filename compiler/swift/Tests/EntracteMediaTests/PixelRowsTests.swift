import EntracteMedia
import EntractePlan
import Testing

@Suite struct PixelRowsTests {
    @Test func pixelsGoIntoRowsWithGapsAndBack() {
        let (height, width, rowBytes) = (2, 3, 16)
        let frame = (0..<18).map { UInt8($0) }
        var rows = [UInt8](repeating: 99, count: height * rowBytes)
        rows.withUnsafeMutableBytes { to in
            frame.withUnsafeBufferPointer {
                PixelRows.putBGRA($0, height: height, width: width, to.baseAddress!, rowBytes: rowBytes)
            }
        }
        #expect(Array(rows[0..<16]) == [2, 1, 0, 255, 5, 4, 3, 255, 8, 7, 6, 255, 99, 99, 99, 99])
        #expect(Array(rows[16..<32]) == [11, 10, 9, 255, 14, 13, 12, 255, 17, 16, 15, 255, 99, 99, 99, 99])
        let back = rows.withUnsafeBytes {
            PixelRows.takeBGRA($0.baseAddress!, height: height, width: width, rowBytes: rowBytes)
        }
        #expect(back == frame)
        let turned = rows.withUnsafeBytes {
            PixelRows.takeRGBA($0.baseAddress!, height: 1, width: 1, rowBytes: rowBytes)
        }
        #expect(turned == [2, 1, 0])
    }

    @Test func framesDoNotDrift() throws {
        let whole = try FrameTime(24)
        #expect(try (0...48).map { try whole.ticks($0) } == (0...48).map { Int64($0 * 600) })
        #expect(whole.timescale == 14_400)
        // 30000 / 1001 a second: an hour later within half a tick of the exact time.
        let film = try FrameTime(30_000.0 / 1001)
        let frame = 107_892
        let exact = Double(frame) * 1001 / 30_000
        #expect(abs(Double(try film.ticks(frame)) / Double(film.timescale) - exact) <= 0.5 / 60_000 + 1e-9)
        for rate in [0, -1, 1001, .nan, .infinity] { #expect(throws: Fault.self) { try FrameTime(rate) } }
        #expect(throws: Fault.self) { try whole.ticks(-1) }
        #expect(throws: Fault.self) { try whole.ticks(.max) }
    }

    /// EXIF's own table: where the stored picture's row 0 and column 0 are when it is shown.
    @Test(arguments: [
        (1, "top", "left"), (2, "top", "right"), (3, "bottom", "right"), (4, "bottom", "left"),
        (5, "left", "top"), (6, "right", "top"), (7, "right", "bottom"), (8, "left", "bottom"),
    ])
    func matricesTurnAsOrientationsDo(_ orientation: Int, _ row0: String, _ column0: String) {
        // Away from row 0 is along the second column (c, d) of the matrix, from column 0 along (a, b); y is down.
        let away = ["top": (0.0, 1.0), "bottom": (0.0, -1.0), "left": (1.0, 0.0), "right": (-1.0, 0.0)]
        let (c, d) = away[row0] ?? (0, 0)
        let (a, b) = away[column0] ?? (0, 0)
        #expect(FrameTime.orientation(a: a, b: b, c: c, d: d) == orientation)
    }
}
