// What we use of AVFoundation, in our own words. Nothing here runs.
@_exported import CoreMedia
import CoreGraphics
import CoreVideo
import Foundation

/// avfoundation/avfiletype
public struct AVFileType: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let mp4 = AVFileType(rawValue: "mp4")
    public static let mov = AVFileType(rawValue: "mov")
}

/// avfoundation/avmediatype
public struct AVMediaType: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let video = AVMediaType(rawValue: "vide")
}

/// avfoundation/avvideocodectype
public struct AVVideoCodecType: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let h264 = AVVideoCodecType(rawValue: "avc1")
}

public let AVVideoCodecKey = "", AVVideoWidthKey = "", AVVideoHeightKey = ""

/// avfoundation/avmetadataidentifier
public struct AVMetadataIdentifier: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    /// avfoundation/avmetadataidentifier/itunesmetadatausercomment
    public static let iTunesMetadataUserComment = AVMetadataIdentifier(rawValue: "itsk/%A9cmt")
    /// avfoundation/avmetadataidentifier/quicktimeuserdatacomment
    public static let quickTimeUserDataComment = AVMetadataIdentifier(rawValue: "udta/%A9cmt")
}

/// avfoundation/avmetadataitem
open class AVMetadataItem: NSObject {}

/// avfoundation/avmutablemetadataitem
open class AVMutableMetadataItem: AVMetadataItem {
    public var identifier: AVMetadataIdentifier?
    public var value: (any NSCopying & NSObjectProtocol)?
    public var extendedLanguageTag: String?
}

/// avfoundation/avassetwriterinput
open class AVAssetWriterInput: NSObject {
    /// avfoundation/avassetwriterinput/init(mediatype:outputsettings:)
    public init(mediaType: AVMediaType, outputSettings: [String: Any]?) {}
    public var expectsMediaDataInRealTime = false
    public var isReadyForMoreMediaData: Bool { fatalError() }
    public func markAsFinished() {}
}

/// avfoundation/avassetwriterinputpixelbufferadaptor: deprecated from iOS 27 and macOS 27 on
open class AVAssetWriterInputPixelBufferAdaptor: NSObject {
    /// avfoundation/avassetwriterinputpixelbufferadaptor/init(assetwriterinput:sourcepixelbufferattributes:)
    public init(assetWriterInput: AVAssetWriterInput, sourcePixelBufferAttributes: [String: Any]? = nil) {}
    /// nil until the writer's session has begun
    public var pixelBufferPool: CVPixelBufferPool? { fatalError() }
    public func append(_ buffer: CVPixelBuffer, withPresentationTime time: CMTime) -> Bool { fatalError() }
}

/// avfoundation/avassetwriter
open class AVAssetWriter: NSObject {
    public enum Status: Int { case unknown, writing, completed, failed, cancelled }
    /// avfoundation/avassetwriter/init(outputurl:filetype:)
    public init(outputURL: URL, fileType: AVFileType) throws {}
    public var status: Status { fatalError() }
    public var error: (any Error)? { fatalError() }
    /// avfoundation/avassetwriter/metadata: to be set before it starts
    public var metadata: [AVMetadataItem] = []
    public func canAdd(_ input: AVAssetWriterInput) -> Bool { fatalError() }
    public func add(_ input: AVAssetWriterInput) {}
    public func startWriting() -> Bool { fatalError() }
    public func startSession(atSourceTime time: CMTime) {}
    /// avfoundation/avassetwriter/finishwriting(completionhandler:), as async
    public func finishWriting() async {}
    public func cancelWriting() {}
}

/// avfoundation/avasyncproperty
public struct AVAsyncProperty<Root, Value> {}

extension AVAsyncProperty where Root == AVAssetTrack, Value == Float {
    public static var nominalFrameRate: AVAsyncProperty<AVAssetTrack, Float> { fatalError() }
}

extension AVAsyncProperty where Root == AVAssetTrack, Value == CGAffineTransform {
    public static var preferredTransform: AVAsyncProperty<AVAssetTrack, CGAffineTransform> { fatalError() }
}

/// avfoundation/avassettrack
open class AVAssetTrack: NSObject {
    /// avfoundation/avasynchronouskeyvalueloading/load(_:)
    public func load<Value>(_ property: AVAsyncProperty<AVAssetTrack, Value>) async throws -> Value { fatalError() }
}

/// avfoundation/avasset
open class AVAsset: NSObject {
    /// avfoundation/avasset/loadtracks(withmediatype:) (async): iOS 15, macOS 12
    public func loadTracks(withMediaType type: AVMediaType) async throws -> [AVAssetTrack] { fatalError() }
}

/// avfoundation/avurlasset
open class AVURLAsset: AVAsset, @unchecked Sendable {
    public init(url: URL, options: [String: Any]? = nil) {}
}

/// avfoundation/avassetreaderoutput
open class AVAssetReaderOutput: NSObject {
    public var alwaysCopiesSampleData = true
    public func copyNextSampleBuffer() -> CMSampleBuffer? { fatalError() }
}

/// avfoundation/avassetreadertrackoutput
open class AVAssetReaderTrackOutput: AVAssetReaderOutput {
    public init(track: AVAssetTrack, outputSettings: [String: Any]?) {}
}

/// avfoundation/avassetreader
open class AVAssetReader: NSObject {
    public enum Status: Int { case unknown, reading, completed, failed, cancelled }
    public init(asset: AVAsset) throws {}
    public var status: Status { fatalError() }
    public var error: (any Error)? { fatalError() }
    public func canAdd(_ output: AVAssetReaderOutput) -> Bool { fatalError() }
    public func add(_ output: AVAssetReaderOutput) {}
    public func startReading() -> Bool { fatalError() }
    public func cancelReading() {}
}
