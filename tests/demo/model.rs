//! What the simulated SonarQube Cloud holds: a small company's projects, before and after an analysis.

use crate::support::sonar::{Analysis, Issue, Model, Severity};

/// The organization.
pub(crate) const ORGANIZATION: &str = "acme";

/// The project that is analysed while one watches.
pub(crate) const SHOP: &str = "web-shop";

/// How many findings the oldest project has: enough that an import takes a moment.
pub(crate) const WAREHOUSE_FINDINGS: usize = 2_400;

const DAY: i64 = 86_400;

/// Rule, file, line, severity, message, age in days.
type Row = (&'static str, &'static str, u32, Severity, &'static str, i64);

const SHOP_ROWS: [(&str, Row); 6] = [
    (
        SQL,
        (
            "java:S3649",
            "src/main/java/shop/order/OrderDao.java",
            88,
            Severity::Blocker,
            "Change this code to not construct SQL queries directly from user-controlled data.",
            212,
        ),
    ),
    (
        PASSWORD,
        (
            "java:S6437",
            "src/main/java/shop/config/MailConfig.java",
            31,
            Severity::Blocker,
            "Revoke and change this password, as it is compromised.",
            97,
        ),
    ),
    (
        "shop-xss",
        (
            "java:S5131",
            "src/main/java/shop/search/SearchController.java",
            54,
            Severity::Blocker,
            "Change this code to not reflect user-controlled data.",
            160,
        ),
    ),
    (
        TLS,
        (
            "java:S4423",
            "src/main/java/shop/payment/GatewayClient.java",
            40,
            Severity::Critical,
            "Change this code to use a stronger protocol.",
            301,
        ),
    ),
    (
        "shop-redirect",
        (
            "java:S5146",
            "src/main/java/shop/login/LoginController.java",
            73,
            Severity::Blocker,
            "Change this code to not perform redirects based on user-controlled data.",
            41,
        ),
    ),
    (
        "shop-log",
        (
            "java:S5145",
            "src/main/java/shop/login/AuditLog.java",
            19,
            Severity::Minor,
            "Change this code to not log user-controlled data.",
            44,
        ),
    ),
];

const PAYMENTS_ROWS: [Row; 5] = [
    (
        "python:S5659",
        "payments/auth/tokens.py",
        27,
        Severity::Critical,
        "Don't use a JWT token without verifying its signature.",
        120,
    ),
    (
        "python:S5144",
        "payments/webhooks/forward.py",
        62,
        Severity::Major,
        "Change this code to not construct the URL from user-controlled data.",
        33,
    ),
    (
        "python:S2083",
        "payments/statements/export.py",
        105,
        Severity::Blocker,
        "Change this code to not construct the path from user-controlled data.",
        18,
    ),
    (
        "python:S4830",
        "payments/banks/client.py",
        48,
        Severity::Critical,
        "Enable server certificate validation on this SSL/TLS connection.",
        256,
    ),
    ("python:S5542", "payments/cards/vault.py", 91, Severity::Critical, "Use a secure mode and padding scheme.", 256),
];

const MOBILE_ROWS: [Row; 4] = [
    (
        "javascript:S6437",
        "server/push/apns.js",
        12,
        Severity::Blocker,
        "Revoke and change this secret, as it is compromised.",
        65,
    ),
    (
        "javascript:S2631",
        "server/api/validate.js",
        140,
        Severity::Critical,
        "Make sure the regular expression cannot lead to denial of service.",
        12,
    ),
    (
        "javascript:S5334",
        "server/reports/formula.js",
        33,
        Severity::Blocker,
        "Change this code to not dynamically execute code influenced by user-controlled data.",
        150,
    ),
    (
        "javascript:S5527",
        "server/partners/client.js",
        21,
        Severity::Critical,
        "Enable server hostname verification on this SSL/TLS connection.",
        78,
    ),
];

const SQL: &str = "shop-sql";
const PASSWORD: &str = "shop-password";
const TLS: &str = "shop-tls";

/// Fills the model.
pub(crate) fn before(model: &mut Model) {
    model.add_organization(ORGANIZATION, "Acme");
    let now = model.now();
    let issue = |(rule, path, line, severity, message, days): Row| {
        Issue::vulnerability(rule, path, line)
            .with_severity(severity)
            .with_message(message)
            .created_at(now - days * DAY)
    };
    model.add_project(ORGANIZATION, SHOP, "Web shop");
    for (key, row) in SHOP_ROWS {
        model.add_issue(SHOP, "main", issue(row).with_key(key));
    }
    model.add_code_smells(SHOP, "main", 40);
    model.add_project(ORGANIZATION, "payments-api", "Payments API");
    for row in PAYMENTS_ROWS {
        model.add_issue("payments-api", "main", issue(row));
    }
    model.add_project(ORGANIZATION, "mobile-backend", "Mobile backend");
    for row in MOBILE_ROWS {
        model.add_issue("mobile-backend", "main", issue(row));
    }
    model.add_project(ORGANIZATION, "warehouse", "Warehouse");
    model.add_issues("warehouse", "main", WAREHOUSE_FINDINGS);
}

/// What the analysis finds: two repaired, one judged by a developer, one new.
pub(crate) fn analysis(analysis: &mut Analysis) {
    analysis.fix(SQL);
    analysis.fix(PASSWORD);
    analysis.accept(TLS);
    analysis.open(
        Issue::vulnerability("java:S2755", "src/main/java/shop/import/CatalogueParser.java", 66)
            .with_key("shop-xxe")
            .with_severity(Severity::Blocker)
            .with_message("Disable access to external entities in XML parsing."),
    );
}

/// What [`analysis`] makes of the inventory: path and the states before and after.
pub(crate) const EXPECTED: [(&str, &str, &str); 4] = [
    ("src/main/java/shop/config/MailConfig.java", "open", "fixed"),
    ("src/main/java/shop/import/CatalogueParser.java", "-", "open"),
    ("src/main/java/shop/order/OrderDao.java", "open", "fixed"),
    ("src/main/java/shop/payment/GatewayClient.java", "open", "accepted"),
];
