// What we use of Core Media, in our own words. Nothing here runs.
import CoreVideo

public typealias CMTimeValue = Int64
public typealias CMTimeScale = Int32

/// coremedia/cmtime-api
public struct CMTime: Sendable {
    public var value: CMTimeValue
    public var timescale: CMTimeScale
    public init(value: CMTimeValue, timescale: CMTimeScale) {
        self.value = value
        self.timescale = timescale
    }
    public static let zero = CMTime(value: 0, timescale: 1)
    public var isNumeric: Bool { fatalError() }
}

/// coremedia/cmsamplebuffer-api
public final class CMSampleBuffer {
    public var imageBuffer: CVImageBuffer? { fatalError() }
    public var presentationTimeStamp: CMTime { fatalError() }
}
