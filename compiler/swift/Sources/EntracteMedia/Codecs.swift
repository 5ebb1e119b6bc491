import EntractePlan
import Foundation

// What reads and writes pictures, videos and sounds: own readers everywhere, the system's where it has some.

/// What is wrong with a file, in words of ours: shown as they are, behind the file's name.
public struct MediaFault: Error, Equatable, Sendable {
    public let message: String

    public init(_ message: String) { self.message = message }
}

/// Decoded pixels in rows without gaps, not turned yet.
public struct Pixels: Sendable, Equatable {
    public enum Layout: Sendable {
        /// A byte each.
        case grey8
        /// Two bytes each, the lower first; white is 65535.
        case grey16
        /// Three bytes each.
        case rgb8
        /// Four bytes each, the colours not multiplied with alpha.
        case rgba8

        public var widthBytes: Int {
            switch self {
            case .grey8: 1
            case .grey16: 2
            case .rgb8: 3
            case .rgba8: 4
            }
        }
    }

    public let height: Int
    public let width: Int
    public let layout: Layout
    /// `height * width * layout.widthBytes` of them.
    public let bytes: [UInt8]
    /// As EXIF has it, 1 to 8: how the picture is to be turned; 1: as it lies.
    public let orientation: Int

    /// Colours of 16 bits come as their upper 8. Throws `MediaFault` where sides and bytes contradict.
    public init(height: Int, width: Int, layout: Layout, bytes: [UInt8], orientation: Int = 1) throws {
        try checkPixels(height: height, width: width)
        guard bytes.count == height * width * layout.widthBytes else {
            throw MediaFault("has \(bytes.count) bytes of pixels for \(height) x \(width)")
        }
        self.height = height
        self.width = width
        self.layout = layout
        self.bytes = bytes
        self.orientation = (1...8).contains(orientation) ? orientation : 1
    }
}

/// Of one picture: some 8,000 a side, or fewer rows and longer ones. A few bytes can claim any size.
public let mostPixels = 1 << 26
public let mostSide = 1 << 15

/// Throws `MediaFault` for a size that is not read; before anything of that size is made.
public func checkPixels(height: Int, width: Int) throws {
    let sides = (1...mostSide)
    guard sides.contains(height), sides.contains(width), height * width <= mostPixels else {
        throw MediaFault(
            "has \(height) x \(width) pixels; at most \(mostPixels) are read, \(mostSide) a side")
    }
}

/// Reads picture files.
public protocol PictureDecoder: Sendable {
    /// Of files that it reads: `.png`, with the dot, small letters.
    var endings: [String] { get }

    /// The first picture of a file. Throws `MediaFault`, or whatever the system has against it.
    func pixels(of file: URL) async throws -> Pixels
}

/// A time in seconds, exactly.
public struct Instant: Sendable, Equatable {
    public let numerator: Int64
    /// Above 0.
    public let denominator: Int64

    /// Throws `MediaFault` for a denominator that is not above 0.
    public init(_ numerator: Int64, _ denominator: Int64) throws {
        guard denominator > 0 else { throw MediaFault("has a time of \(numerator)/\(denominator)") }
        self.numerator = numerator
        self.denominator = denominator
    }
}

/// One frame of a video; its orientation is how the file says it is to be turned.
public struct VideoFrame: Sendable {
    public let pixels: Pixels
    /// When it is shown.
    public let shown: Instant

    public init(pixels: Pixels, shown: Instant) {
        self.pixels = pixels
        self.shown = shown
    }
}

/// A video that is read frame by frame, in the order in which they are shown.
public protocol VideoSource: AnyObject {
    /// Frames a second of its stream, on average.
    var rate: Instant { get }

    /// The next frame; nil behind the last one.
    func next() async throws -> VideoFrame?
}

/// Reads video files.
public protocol VideoDecoder: Sendable {
    var endings: [String] { get }

    /// Throws `MediaFault`, or whatever the system has against the file.
    func open(_ file: URL) async throws -> any VideoSource
}

/// The beginning of a sound.
public struct Sound: Sendable, Equatable {
    /// Samples a second.
    public let rate: Int
    /// The mean of its channels, in [-1, 1].
    public let samples: [Double]

    public init(rate: Int, samples: [Double]) {
        self.rate = rate
        self.samples = samples
    }
}

/// Reads sound files.
public protocol SoundDecoder: Sendable {
    var endings: [String] { get }

    /// `needed`: how many samples of a sound with so many a second are read at least, where it has them.
    func sound(of file: URL, needed: @Sendable (_ rate: Int) -> Int) async throws -> Sound
}

/// Writes clips.
public protocol ClipEncoder: Sendable {
    /// Of files that it writes: `.mp4`, `.mov`.
    var endings: [String] { get }

    /// Begin a file that is not there yet.
    func open(_ file: URL, _ form: ClipForm) async throws -> any ClipWriter
}

/// What a clip is to be.
public struct ClipForm: Sendable, Equatable {
    /// Of its file: what says the format.
    public let ending: String
    /// Even, at most 16384, as is the width.
    public let height: Int
    public let width: Int
    /// Frames a second.
    public let rate: Double
    /// What the file says of how it was made, in ASCII; empty: nothing.
    public let comment: String

    public init(ending: String, height: Int, width: Int, rate: Double, comment: String) {
        self.ending = ending
        self.height = height
        self.width = width
        self.rate = rate
        self.comment = comment
    }
}

/// One clip in the making. Used by one task at a time.
public protocol ClipWriter: Sendable {
    /// The next frame: `height * width` pixels of three bytes, red first.
    func take(_ frame: [UInt8]) async throws

    /// All frames came: the file is whole when this returns.
    func finish() async throws

    /// It is not to be; whoever opened it removes the file.
    func abandon() async
}

/// What this process can read and write. Own readers first; a system's are added to them.
public struct Codecs: Sendable {
    public var pictures: [any PictureDecoder]
    public var videos: [any VideoDecoder]
    public var sounds: [any SoundDecoder]
    public var clips: [any ClipEncoder]

    public init(
        pictures: [any PictureDecoder] = [], videos: [any VideoDecoder] = [],
        sounds: [any SoundDecoder] = [], clips: [any ClipEncoder] = []
    ) {
        self.pictures = pictures
        self.videos = videos
        self.sounds = sounds
        self.clips = clips
    }
}
