// What the example app uses of AVKit, in our own words. Nothing here runs.
import AVFoundation
import Foundation
import SwiftUI

/// avfoundation/avplayer
@MainActor
public final class AVPlayer { public init(url: URL) {} }

/// avkit/videoplayer
public struct VideoPlayer: View {
    public init(player: AVPlayer?) {}
    public var body: Never { fatalError() }
}
