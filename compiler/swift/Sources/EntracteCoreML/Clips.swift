#if canImport(AVFoundation)
@preconcurrency import AVFoundation
import CoreVideo
import EntracteMedia
import EntractePlan
import Foundation

/// Writes mp4 and mov with the system's H.264 encoder, frame by frame as they come.
public struct SystemClips: ClipEncoder {
    public init() {}

    public var endings: [String] { [".mp4", ".mov"] }

    public func open(_ file: URL, _ form: ClipForm) async throws -> any ClipWriter { try SystemClip(file, form) }
}

/// One clip in the making. An actor, because whoever makes frames and whoever waits for the encoder are not
/// the same.
actor SystemClip: ClipWriter {
    private let file: URL
    private let height: Int
    private let width: Int
    private let time: FrameTime
    private let held: Held
    private var count = 0

    /// What the writer is made of. Unchecked: only the actor uses it.
    private struct Held: @unchecked Sendable {
        let writer: AVAssetWriter
        let input: AVAssetWriterInput
        let adaptor: AVAssetWriterInputPixelBufferAdaptor
    }

    init(_ file: URL, _ form: ClipForm) throws {
        let (height, width, isMovie) = (form.height, form.width, form.ending == ".mov")
        self.file = file
        self.height = height
        self.width = width
        time = try FrameTime(form.rate)
        let writer = try AVAssetWriter(outputURL: file, fileType: isMovie ? .mov : .mp4)
        // Before it starts: later it is ignored.
        if !form.comment.isEmpty { writer.metadata = [Self.comment(form.comment, isMovie)] }
        let input = AVAssetWriterInput(
            mediaType: .video,
            outputSettings: [
                AVVideoCodecKey: AVVideoCodecType.h264, AVVideoWidthKey: width, AVVideoHeightKey: height,
            ])
        input.expectsMediaDataInRealTime = false
        let adaptor = AVAssetWriterInputPixelBufferAdaptor(
            assetWriterInput: input,
            sourcePixelBufferAttributes: [
                kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA,
                kCVPixelBufferWidthKey as String: width, kCVPixelBufferHeightKey as String: height,
            ])
        guard writer.canAdd(input) else {
            throw Fault.write("\(file.lastPathComponent): the system encodes no clip of \(height) x \(width)")
        }
        writer.add(input)
        held = Held(writer: writer, input: input, adaptor: adaptor)
        guard writer.startWriting() else { throw Self.fault(file, writer) }
        writer.startSession(atSourceTime: .zero)
    }

    func take(_ frame: [UInt8]) async throws {
        guard frame.count == 3 * height * width else {
            throw Fault.write("\(file.lastPathComponent): a frame of \(frame.count) B, not \(3 * height * width)")
        }
        try await ready()
        let buffer = try filled(frame)
        guard held.adaptor.append(buffer, withPresentationTime: try time.of(count)) else {
            throw Self.fault(file, held.writer)
        }
        count += 1
    }

    func finish() async throws {
        held.input.markAsFinished()
        await ended(held)
        guard held.writer.status == .completed else { throw Self.fault(file, held.writer) }
    }

    func abandon() { held.writer.cancelWriting() }

    private nonisolated func ended(_ held: Held) async { await held.writer.finishWriting() }

    /// The encoder has room for a frame: what is ahead of it lies in memory.
    private func ready() async throws {
        while !held.input.isReadyForMoreMediaData {
            guard held.writer.status == .writing else { throw Self.fault(file, held.writer) }
            try await Task.sleep(nanoseconds: 2_000_000)
        }
    }

    /// A buffer of the pool, which uses them again, with a frame.
    private func filled(_ frame: [UInt8]) throws -> CVPixelBuffer {
        guard let pool = held.adaptor.pixelBufferPool else { throw Self.fault(file, held.writer) }
        var made: CVPixelBuffer?
        guard CVPixelBufferPoolCreatePixelBuffer(nil, pool, &made) == kCVReturnSuccess, let buffer = made,
            Self.fill(buffer, frame, height, width)
        else { throw Fault.write("\(file.lastPathComponent): the system has no memory for a frame") }
        return buffer
    }

    private static func fill(_ buffer: CVPixelBuffer, _ frame: [UInt8], _ height: Int, _ width: Int) -> Bool {
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let start = CVPixelBufferGetBaseAddress(buffer) else { return false }
        let rowBytes = CVPixelBufferGetBytesPerRow(buffer)
        guard rowBytes >= 4 * width, CVPixelBufferGetHeight(buffer) >= height else { return false }
        frame.withUnsafeBufferPointer {
            PixelRows.putBGRA($0, height: height, width: width, start, rowBytes: rowBytes)
        }
        return true
    }

    /// `©cmt`, where each of the two formats has it: what others call the comment.
    private static func comment(_ text: String, _ isMovie: Bool) -> AVMetadataItem {
        let item = AVMutableMetadataItem()
        item.identifier = isMovie ? .quickTimeUserDataComment : .iTunesMetadataUserComment
        item.value = NSString(string: text)
        item.extendedLanguageTag = "und"
        return item
    }

    private static func fault(_ file: URL, _ writer: AVAssetWriter) -> Fault {
        let why = writer.error?.localizedDescription ?? "it stopped"
        return Fault.write("\(file.lastPathComponent): the system's encoder: \(why); is the app in front, is there room?")
    }
}

extension FrameTime {
    /// When a frame is shown.
    func of(_ frame: Int) throws -> CMTime {
        CMTime(value: try ticks(frame), timescale: CMTimeScale(timescale))
    }
}
#endif
