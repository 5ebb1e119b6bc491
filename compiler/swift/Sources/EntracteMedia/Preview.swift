import EntractePlan
import EntracteRuntime

/// A picture of what is being made: RGB, 8 bits, rows from the top.
public struct Preview: Sendable, Equatable {
    public let width: Int
    public let height: Int
    public let rgb: [UInt8]
}

/// Hands pieces on to a file, and shows the last frame of each as it passes.
public struct PreviewSink: Sink {
    private let next: any Sink
    private let output: Output
    private let show: @Sendable (Preview) -> Void

    /// `output`: a video's or an image's; of others nothing is shown.
    public init(_ next: any Sink, of output: Output, show: @escaping @Sendable (Preview) -> Void) {
        self.next = next
        self.output = output
        self.show = show
    }

    public func take(_ piece: Tensor) async throws {
        if let preview = Preview(lastOf: piece, of: output) { show(preview) }
        try await next.take(piece)
    }
}

extension Preview {
    /// The last frame of a piece (1, 3, frames, height, width), or the last image of (images, 3, height, width);
    /// nil of anything else.
    public init?(lastOf piece: Tensor, of output: Output) {
        guard output.kind == .video || output.kind == .image, let frames = try? Grains(.frames, output, piece),
            frames.count > 0
        else { return nil }
        let last = frames[frames.count - 1]
        self.init(width: last.shape[2], height: last.shape[1], rgb: last.bytes)
    }
}
