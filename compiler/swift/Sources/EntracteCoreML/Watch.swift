#if canImport(CoreML)
import Darwin
import Dispatch
import EntracteRuntime
import Foundation

#if canImport(UIKit)
import UIKit
#endif

/// Hears that the system is short of memory and that the app goes to the background, and tells `Interruptions`.
@MainActor
public final class SystemWatch {
    private let pressure: [any DispatchSourceMemoryPressure]
    private var observers: [any NSObjectProtocol] = []

    public init(_ interruptions: Interruptions) {
        pressure = [
            Self.source([.warning, .critical]) { interruptions.begins(.memory) },
            Self.source([.normal]) { interruptions.ends(.memory) },
        ]
        #if canImport(UIKit)
        hear(UIApplication.didReceiveMemoryWarningNotification) { interruptions.begins(.memory) }
        hear(UIApplication.didEnterBackgroundNotification) { interruptions.begins(.background) }
        hear(UIApplication.willEnterForegroundNotification) { interruptions.ends(.background) }
        #endif
    }

    /// Must be called before it is let go: the system holds those who listen.
    public func stop() {
        pressure.forEach { $0.cancel() }
        observers.forEach { NotificationCenter.default.removeObserver($0) }
        observers = []
    }

    private func hear(_ name: Notification.Name, _ act: @escaping @Sendable () -> Void) {
        observers.append(
            NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { _ in act() })
    }

    private nonisolated static func source(
        _ events: DispatchSource.MemoryPressureEvent, _ act: @escaping @Sendable () -> Void
    ) -> any DispatchSourceMemoryPressure {
        let source = DispatchSource.makeMemoryPressureSource(
            eventMask: events, queue: DispatchQueue(label: "entracte.memory"))
        source.setEventHandler { act() }
        source.activate()
        return source
    }
}

/// The device's screen, which the system turns off after a while: with it goes the app.
@MainActor
public enum Screen {
    /// Whether it stays on although nobody touches it. Of a Mac it is left alone.
    public static func staysOn(_ stays: Bool) {
        #if canImport(UIKit)
        UIApplication.shared.isIdleTimerDisabled = stays
        #endif
    }
}

/// What slows a device down: reported with a run, nothing follows from it.
public struct SystemState: Equatable, Sendable {
    /// `nominal`, `fair`, `serious`, `critical`.
    public let thermal: String
    public let isLowPower: Bool

    /// As it is now.
    public static func current() -> SystemState {
        let thermal =
            switch ProcessInfo.processInfo.thermalState {
            case .nominal: "nominal"
            case .fair: "fair"
            case .serious: "serious"
            case .critical: "critical"
            @unknown default: "unknown"
            }
        return SystemState(thermal: thermal, isLowPower: ProcessInfo.processInfo.isLowPowerModeEnabled)
    }
}
#endif
