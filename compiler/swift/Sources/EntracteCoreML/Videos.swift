#if canImport(AVFoundation)
@preconcurrency import AVFoundation
import CoreVideo
import EntracteMedia
import Foundation

/// Reads videos with the system's decoders, frame by frame.
public struct SystemVideos: VideoDecoder {
    public init() {}

    public var endings: [String] { [".mp4", ".mov", ".m4v"] }

    public func open(_ file: URL) async throws -> any VideoSource {
        let asset = AVURLAsset(url: file)
        guard let track = try await asset.loadTracks(withMediaType: .video).first else {
            throw MediaFault("has no video")
        }
        let rate = try await track.load(.nominalFrameRate)
        let turn = try await track.load(.preferredTransform)
        let reader = try AVAssetReader(asset: asset)
        let output = AVAssetReaderTrackOutput(
            track: track,
            outputSettings: [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA])
        output.alwaysCopiesSampleData = false
        guard reader.canAdd(output) else { throw MediaFault("cannot be decoded by the system") }
        reader.add(output)
        guard reader.startReading() else { throw SystemVideo.fault(reader) }
        let orientation = FrameTime.orientation(
            a: Double(turn.a), b: Double(turn.b), c: Double(turn.c), d: Double(turn.d))
        return try SystemVideo(reader, output, rate: rate, orientation)
    }
}

/// A video that is being read.
final class SystemVideo: VideoSource {
    let rate: Instant
    private let reader: AVAssetReader
    private let output: AVAssetReaderTrackOutput
    private let orientation: Int

    init(_ reader: AVAssetReader, _ output: AVAssetReaderTrackOutput, rate: Float, _ orientation: Int) throws {
        self.reader = reader
        self.output = output
        self.orientation = orientation
        guard rate > 0, rate <= 1000 else { throw MediaFault("has \(rate) frames a second") }
        self.rate = try Instant(Int64((Double(rate) * 1000).rounded()), 1000)
    }

    deinit { reader.cancelReading() }

    func next() async throws -> VideoFrame? {
        while let sample = output.copyNextSampleBuffer() {
            // Some samples are marks without a picture.
            guard let buffer = sample.imageBuffer else { continue }
            let time = sample.presentationTimeStamp
            guard time.isNumeric else { throw MediaFault("has a frame without a time") }
            return VideoFrame(
                pixels: try pixels(buffer), shown: try Instant(time.value, Int64(time.timescale)))
        }
        guard reader.status == .completed else { throw Self.fault(reader) }
        return nil
    }

    private func pixels(_ buffer: CVPixelBuffer) throws -> Pixels {
        let height = CVPixelBufferGetHeight(buffer)
        let width = CVPixelBufferGetWidth(buffer)
        try checkPixels(height: height, width: width)
        CVPixelBufferLockBaseAddress(buffer, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        guard let rows = CVPixelBufferGetBaseAddress(buffer) else { throw MediaFault("has a frame without pixels") }
        let bytes = PixelRows.takeBGRA(
            rows, height: height, width: width, rowBytes: CVPixelBufferGetBytesPerRow(buffer))
        return try Pixels(height: height, width: width, layout: .rgb8, bytes: bytes, orientation: orientation)
    }

    static func fault(_ reader: AVAssetReader) -> MediaFault {
        MediaFault("cannot be decoded by the system (\(reader.error?.localizedDescription ?? "it stopped"))")
    }
}

extension Codecs {
    /// With what Apple's systems read and write beside our own readers, which come first.
    public var withSystem: Codecs {
        Codecs(
            pictures: pictures + [SystemPictures()], videos: videos + [SystemVideos()], sounds: sounds,
            clips: clips + [SystemClips()])
    }
}
#endif
