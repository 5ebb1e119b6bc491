// What we use of UIKit, in our own words. Nothing here runs.
import Foundation

/// uikit/uiapplication
@MainActor
open class UIApplication: NSObject {
    public class var shared: UIApplication { fatalError() }
    public var isIdleTimerDisabled = false
    /// uikit/uiapplication/didreceivememorywarningnotification and its neighbours
    public class var didReceiveMemoryWarningNotification: NSNotification.Name { fatalError() }
    public class var didEnterBackgroundNotification: NSNotification.Name { fatalError() }
    public class var willEnterForegroundNotification: NSNotification.Name { fatalError() }
}
