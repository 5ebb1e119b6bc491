// What the example app uses of SwiftUI, in our own words. Nothing here runs.
@_exported import Foundation
import CoreGraphics
import UniformTypeIdentifiers

/// swiftui/view
@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

extension Never: View { public var body: Never { fatalError() } }

/// A view that is made here and nowhere else.
public struct Made: View { public var body: Never { fatalError() } }

extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }

/// swiftui/viewbuilder
@resultBuilder
public struct ViewBuilder {
    public static func buildExpression<V: View>(_ view: V) -> V { view }
    public static func buildBlock() -> Made { fatalError() }
    public static func buildBlock<V: View>(_ view: V) -> V { view }
    public static func buildBlock<each V: View>(_ views: repeat each V) -> Made { fatalError() }
    public static func buildIf<V: View>(_ view: V?) -> V? { view }
    public static func buildEither<A: View>(first: A) -> Made { fatalError() }
    public static func buildEither<B: View>(second: B) -> Made { fatalError() }
}

/// swiftui/app, swiftui/scene
@MainActor @preconcurrency
public protocol Scene {}
@MainActor @preconcurrency
public protocol App {
    associatedtype Body: Scene
    var body: Body { get }
    init()
}
extension App { public static func main() {} }
public struct WindowGroup<Content: View>: Scene {
    public init(@ViewBuilder content: () -> Content) {}
}

/// swiftui/state
@propertyWrapper
public struct State<Value> {
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Binding<Value> { fatalError() }
}

/// swiftui/binding
@propertyWrapper @dynamicMemberLookup
public struct Binding<Value> {
    public init(get: @escaping () -> Value, set: @escaping (Value) -> Void) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Binding<Value> { self }
    public subscript<Part>(dynamicMember path: WritableKeyPath<Value, Part>) -> Binding<Part> { fatalError() }
}

/// swiftui/bindable
@propertyWrapper @dynamicMemberLookup
public struct Bindable<Value: AnyObject> {
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value { get { fatalError() } set {} }
    public var projectedValue: Bindable<Value> { self }
    public subscript<Part>(dynamicMember path: ReferenceWritableKeyPath<Value, Part>) -> Binding<Part> { fatalError() }
}

/// swiftui/axis
public enum Axis { case horizontal, vertical }

/// swiftui/contentmode
public enum ContentMode { case fit, fill }

/// swiftui/buttonrole
public struct ButtonRole: Sendable { public static let cancel = ButtonRole() }

public struct Text: View {
    public init(_ words: some StringProtocol) {}
    public var body: Never { fatalError() }
}
public struct TextField: View {
    public init(_ title: some StringProtocol, text: Binding<String>) {}
    public init(_ title: some StringProtocol, text: Binding<String>, axis: Axis) {}
    public var body: Never { fatalError() }
}
public struct Button: View {
    public init(_ title: some StringProtocol, role: ButtonRole? = nil, action: @escaping @MainActor () -> Void) {}
    public var body: Never { fatalError() }
}
public struct ProgressView: View {
    public init(_ title: some StringProtocol) {}
    public init(value: Double?, total: Double = 1) {}
    public var body: Never { fatalError() }
}
public struct Form: View {
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct Section: View {
    public init(@ViewBuilder content: () -> some View) {}
    public init(_ title: some StringProtocol, @ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct NavigationStack: View {
    public init(@ViewBuilder root: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct LabeledContent: View {
    public init(_ title: some StringProtocol, @ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct Picker: View {
    public init<Choice: Hashable>(_ title: some StringProtocol, selection: Binding<Choice>, @ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct ForEach<Items: RandomAccessCollection>: View {
    public init(_ items: Items, id: KeyPath<Items.Element, some Hashable>, @ViewBuilder content: @escaping (Items.Element) -> some View) {}
    public init(_ items: Items, @ViewBuilder content: @escaping (Items.Element) -> some View) where Items.Element: Identifiable {}
    public var body: Never { fatalError() }
}
/// swiftui/stepper/init(_:value:in:step:oneditingchanged:)
public struct Stepper: View {
    public init<V: Strideable>(_ title: some StringProtocol, value: Binding<V>, in bounds: ClosedRange<V>) {}
    public var body: Never { fatalError() }
}
/// swiftui/toggle/init(_:ison:)
public struct Toggle: View {
    public init(_ title: some StringProtocol, isOn: Binding<Bool>) {}
    public var body: Never { fatalError() }
}
public struct AsyncImage: View {
    public init(url: URL?, scale: CGFloat = 1) {}
    public var body: Never { fatalError() }
}
public struct Image: View {
    public init(decorative image: CGImage, scale: CGFloat) {}
    public func resizable() -> Image { self }
    public var body: Never { fatalError() }
}
public struct ShareLink: View {
    public init(item: URL) {}
    public var body: Never { fatalError() }
}

/// swiftui/font
public struct Font: Sendable { public static let caption = Font(), callout = Font() }

/// swiftui/textselectability
public struct TextSelectability { public static let enabled = TextSelectability() }

extension View {
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View { Made() }
    public func navigationTitle(_ title: some StringProtocol) -> some View { Made() }
    public func font(_ font: Font?) -> some View { Made() }
    public func tag(_ tag: some Hashable) -> some View { Made() }
    public func frame(minHeight: CGFloat? = nil, maxHeight: CGFloat? = nil) -> some View { Made() }
    public func aspectRatio(contentMode: ContentMode) -> some View { Made() }
    public func textSelection(_ selectability: TextSelectability) -> some View { Made() }
    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType],
        onCompletion: @escaping (Result<URL, any Error>) -> Void
    ) -> some View { Made() }
}
